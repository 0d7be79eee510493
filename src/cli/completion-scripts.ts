/**
 * What a shell loads to complete `sregistry`. Each script asks `sregistry --get-yargs-completions WORDS...`, whose last word is the one to
 * complete. They are not those of yargs, which take the colon of `lab://demo` for the end of a word or of a name.
 */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export type Shell = (typeof SHELLS)[number];

/** bash splits words at colons (COMP_WORDBREAKS), and replaces only what is behind the last one. */
const bash = `_sregistry() {
  local line=\${COMP_LINE:0:COMP_POINT} words current before word
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=('')
  current=\${words[-1]}
  before=
  [[ $COMP_WORDBREAKS == *:* ]] && before=\${current%"\${current##*:}"}
  COMPREPLY=()
  while IFS= read -r word; do
    [[ $word == "$current"* ]] || continue
    COMPREPLY+=("\${word#"$before"}")
    [[ $word == */ ]] && compopt -o nospace 2> /dev/null
  done < <(sregistry --get-yargs-completions "\${words[@]}" 2> /dev/null)
}
complete -o bashdefault -o default -F _sregistry sregistry
`;

const zsh = `#compdef sregistry
_sregistry() {
  local -a found
  found=("\${(@f)$(sregistry --get-yargs-completions "\${(@)words[1,CURRENT]}" 2> /dev/null)}")
  compadd -- "\${(@)found:#}" || _default
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _sregistry "$@"
else
  compdef _sregistry sregistry
fi
`;

const fish = `complete -c sregistry -a '(sregistry --get-yargs-completions (commandline -opc) (commandline -ct) 2> /dev/null)'
`;

export const SCRIPTS: Readonly<Record<Shell, string>> = { bash, zsh, fish };
