// Perfetto's trace processor in Node: a stream of its RPC messages from standard input, its replies to standard output.
//
//     node trace_processor.mjs FOLDER < requests > replies
//
// FOLDER holds engine_bundle.node.js and trace_processor.wasm, which are made for a web worker: what they ask of one is
// given here. Messages are TraceProcessorRpcStream of trace_processor.proto, as in trace_processor's own HTTP mode.
import { readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
const wasm = readFileSync(join(folder, 'trace_processor.wasm'));
const worker = { location: { href: 'file:///' } };
const Module = WebAssembly.Module;

// the package has the build for 32 bits only: the probe for 64 bits, a memory section alone, has to fail
WebAssembly.Module = class extends Module {
  constructor(bytes) {
    if (bytes.length < 100 && bytes[8] === 5) throw new Error('no memory64 here');
    super(bytes);
  }
};
globalThis.WorkerGlobalScope = class {};
globalThis.self = worker;
globalThis.XMLHttpRequest = class {
  open() {}
  send() {
    this.response = wasm;
  }
};
console.log = console.warn = (...words) => process.stderr.write(`${words.join(' ')}\n`);

new Function('self', readFileSync(join(folder, 'engine_bundle.node.js'), 'utf8'))(worker);
await new Promise((wait) => setTimeout(wait, 100)); // promises that the module kept once it was there

const port = { postMessage: (data) => write(data) };
worker.onmessage({ data: port });
port.onmessage({ data: new Uint8Array(readFileSync(0)) });

function write(data) {
  for (let done = 0; done < data.length; ) done += writeSync(1, data, done);
}
