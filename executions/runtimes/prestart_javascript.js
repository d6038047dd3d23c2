// Preloaded by a Node.js that was started ahead with `main.js` as its program (see
// Prestart in base.py). Loading and running main.js is left to node itself.
'use strict';

// A worker thread preloads what its parent did, so this file has to stay.
if (require('worker_threads').isMainThread) {
  const fs = require('fs');
  delete process.env.NODE_OPTIONS;
  delete require.cache[__filename];
  process._preload_modules.length = 0;

  const parts = [];
  const buffer = Buffer.alloc(65536);
  for (;;) {
    const count = fs.readSync(3, buffer);
    if (count === 0) process.reallyExit(0);
    parts.push(Buffer.from(buffer.subarray(0, count)));
    if (buffer[count - 1] === 10) break;
  }
  fs.closeSync(3);
  const orders = JSON.parse(Buffer.concat(parts).toString());
  Object.assign(process.env, orders.env);
  process.argv.push(...orders.argv.slice(1));
}
