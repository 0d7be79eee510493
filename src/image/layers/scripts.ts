/**
 * The scripts of `/.singularity.d`. They are our own text with Apptainer's meaning: its runtime, and older Singularities,
 * look for these files by their names. POSIX sh, as a container may have nothing else.
 */

/** What the configuration of an OCI image tells a runtime (OCI image specification, "Image Configuration"). */
export interface ContainerConfig {
  readonly Env?: readonly string[] | null | undefined;
  readonly Entrypoint?: readonly string[] | null | undefined;
  readonly Cmd?: readonly string[] | null | undefined;
  readonly Labels?: Readonly<Record<string, string>> | null | undefined;
  /** Of no use to Singularity, but kept in the images that it makes. */
  readonly User?: string | undefined;
  readonly ExposedPorts?: Readonly<Record<string, object>> | undefined;
  readonly Volumes?: Readonly<Record<string, object>> | undefined;
  readonly WorkingDir?: string | undefined;
  readonly StopSignal?: string | undefined;
}

/** A variable's name, as Apptainer takes it; others are left out. */
const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

const LOAD_ENVIRONMENT = `for file in /.singularity.d/env/*.sh; do
    [ ! -f "$file" ] || . "$file"
done
`;

/** Runs the script or test of the app that was asked for, else the container's. */
const appOr = (name: string, nothing: string) => `
if [ -n "\${SINGULARITY_APPNAME:-}" ]; then
    for file in "/scif/apps/$SINGULARITY_APPNAME/scif/${name}" /scif/apps/singularity/scif/${name}; do
        [ ! -x "$file" ] || exec "$file" "$@"
    done
    echo "The container has no ${name} for the app $SINGULARITY_APPNAME" >&2
    exit 1
fi
[ ! -x /.singularity.d/${name} ] || exec /.singularity.d/${name} "$@"
${nothing}
`;

/** Scripts that are the same in every container, by their path below `/.singularity.d`. All are executable. */
export const FIXED_SCRIPTS: Readonly<Record<string, string>> = {
  'actions/exec': `#!/bin/sh
${LOAD_ENVIRONMENT}
exec "$@"
`,
  'actions/run': `#!/bin/sh
${LOAD_ENVIRONMENT}${appOr('runscript', `echo 'The container has no runscript, starting /bin/sh'\nexec /bin/sh "$@"`)}`,
  'actions/test': `#!/bin/sh
${LOAD_ENVIRONMENT}${appOr('test', `echo 'The container has no test'`)}`,
  'actions/shell': `#!/bin/sh
${LOAD_ENVIRONMENT}
if [ -n "\${SINGULARITY_SHELL:-}" ] && [ -x "$SINGULARITY_SHELL" ]; then
    exec "$SINGULARITY_SHELL" "$@"
fi
PS1="Apptainer \${APPTAINER_NAME:-}:\\\\w> "
export PS1
if [ -x /bin/bash ]; then
    SHELL=/bin/bash
    export SHELL
    exec /bin/bash --norc "$@"
fi
if [ -x /bin/sh ]; then
    SHELL=/bin/sh
    export SHELL
    exec /bin/sh "$@"
fi
echo 'The container has no /bin/sh' >&2
exit 1
`,
  'actions/start': `#!/bin/sh
# Process 1 of an instance waits for this signal.
kill -CONT 1

${LOAD_ENVIRONMENT}
[ ! -x /.singularity.d/startscript ] || exec /.singularity.d/startscript
`,
  'env/01-base.sh': '#!/bin/sh\n',
  'env/90-environment.sh': '#!/bin/sh\n',
  // What apps export for each other; a Docker image has none.
  'env/94-appsbase.sh': '',
  'env/95-apps.sh': `#!/bin/sh
if [ -n "\${SINGULARITY_APPNAME:-}" ]; then
    export SINGULARITY_APPNAME
    if [ ! -d "/scif/apps/$SINGULARITY_APPNAME" ]; then
        echo "The container has no app $SINGULARITY_APPNAME"
        exit 1
    fi
    SCIF_APPS=/scif/apps
    SCIF_APPROOT=$SCIF_APPS/$SINGULARITY_APPNAME
    export SCIF_APPS SCIF_APPROOT
    PATH="$SCIF_APPROOT:$SCIF_APPS/singularity:$PATH"
    for SCIF_FOLDER in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
        [ -d "$SCIF_FOLDER/bin" ] || continue
        PATH="$SCIF_FOLDER/bin:$PATH"
        break
    done
    export PATH
    for SCIF_FOLDER in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
        [ -d "$SCIF_FOLDER/lib" ] || continue
        LD_LIBRARY_PATH="$SCIF_FOLDER/lib:\${LD_LIBRARY_PATH:-}"
        export LD_LIBRARY_PATH
        break
    done
    for SCIF_FILE in 01-base.sh 90-environment.sh; do
        for SCIF_FOLDER in "$SCIF_APPROOT" "$SCIF_APPS/singularity"; do
            [ -f "$SCIF_FOLDER/scif/env/$SCIF_FILE" ] || continue
            . "$SCIF_FOLDER/scif/env/$SCIF_FILE"
            break
        done
    done
    unset SCIF_FOLDER SCIF_FILE
fi
`,
  'env/99-base.sh': `#!/bin/sh
LD_LIBRARY_PATH="\${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}/.singularity.d/libs"
PS1="\${PS1:-Apptainer> }"
export LD_LIBRARY_PATH PS1
`,
  'env/99-runtimevars.sh': `#!/bin/sh
# From the options and variables that change PATH from outside.
PATH="\${SING_USER_DEFINED_PREPEND_PATH:+$SING_USER_DEFINED_PREPEND_PATH:}$PATH"
PATH="$PATH\${SING_USER_DEFINED_APPEND_PATH:+:$SING_USER_DEFINED_APPEND_PATH}"
PATH="\${SING_USER_DEFINED_PATH:-$PATH}"
export PATH
unset SING_USER_DEFINED_PREPEND_PATH SING_USER_DEFINED_APPEND_PATH SING_USER_DEFINED_PATH
`,
  startscript: '#!/bin/sh\n',
};

/**
 * `env/10-docker2singularity.sh`: the image's variables. PATH is set; another variable only where it has no value yet, so that
 * one given from outside wins.
 */
export function environmentScript(env: readonly string[]): string {
  const lines = ['#!/bin/sh'];
  for (const element of env) {
    const equals = element.indexOf('=');
    const name = equals < 0 ? element : element.slice(0, equals);
    if (!VARIABLE.test(name)) continue;
    const value = quote(equals < 0 ? '' : element.slice(equals + 1));
    if (name === 'PATH' && equals >= 0) lines.push(`export PATH=${value}`);
    else lines.push(`[ -n "\${${name}:-}" ] || ${name}=${value}`, `export ${name}`);
  }
  return `${lines.join('\n')}\n`;
}

/**
 * The runscript: the entrypoint with the arguments, or with the command where there are none. The words go through the shell
 * once more, so that `$HOME` in an argument means the container's; SINGULARITY_NO_EVAL takes them as they are.
 */
export function runscript(entrypoint: readonly string[], command: readonly string[]): string {
  return `#!/bin/sh
OCI_ENTRYPOINT=${quote(doubleQuoted(entrypoint))}
OCI_CMD=${quote(doubleQuoted(command))}

if [ -n "\${SINGULARITY_NO_EVAL:-}" ]; then
    [ $# -gt 0 ] || set --${command.map((word) => ` ${quote(word)}`).join('')}
    set --${entrypoint.map((word) => ` ${quote(word)}`).join('')} "$@"
    exec "$@"
fi

OCI_ARGS=
for arg in "$@"; do
    OCI_ARGS="$OCI_ARGS \\"$arg\\""
done
[ $# -gt 0 ] || OCI_ARGS=$OCI_CMD
eval "set -- $OCI_ENTRYPOINT $OCI_ARGS"
exec "$@"
`;
}

/** A word that the shell takes literally. */
function quote(text: string): string {
  return `'${text.replaceAll("'", `'"'"'`)}'`;
}

/** Words that a later `eval` takes literally. */
function doubleQuoted(words: readonly string[]): string {
  return words.map((word) => `"${word.replace(/[\\"`$]/g, '\\$&')}"`).join(' ');
}
