/** A service manager's end of sd_notify(3): a datagram socket, which Node does not have, in Python. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { eventually } from './support.ts';

const LISTEN = `
import json, os, socket, sys
path = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.bind('\\0' + path[1:] if path.startswith('@') else path)
print(json.dumps('listening'), flush=True)
while True:
    # A barrier comes as a descriptor, which is closed when what came before it was read.
    data, descriptors, *_ = socket.recv_fds(listener, 65536, 8)
    print(json.dumps(data.decode()), flush=True)
    for descriptor in descriptors: os.close(descriptor)
`;

/** What came, in order: each message's assignments. */
export class Notified {
  readonly messages: Record<string, string>[] = [];
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  /** Listens at the path of a socket, or at an abstract name that begins with `@`. */
  static async listen(address: string): Promise<Notified> {
    const listener = spawn('python3', ['-c', LISTEN, address], { stdio: ['ignore', 'pipe', 'inherit'] });
    const notified = new Notified(listener);
    let isListening = false;
    createInterface({ input: listener.stdout }).on('line', (line) => {
      if (isListening) notified.#note(JSON.parse(line));
      isListening = true;
    });
    await eventually(() => {
      if (!isListening) throw new Error(`nobody listens at ${address}`);
    });
    return notified;
  }

  /** The messages that have this assignment. */
  with(name: string): Record<string, string>[] {
    return this.messages.filter((message) => name in message);
  }

  close(): void {
    this.#process.kill();
  }

  #note(text: string): void {
    const pairs = text.split('\n').filter((line) => line.includes('='));
    this.messages.push(
      Object.fromEntries(
        pairs.map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
      ),
    );
  }
}
