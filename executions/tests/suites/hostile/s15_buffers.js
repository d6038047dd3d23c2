// Buffers live outside of node's heap.
console.log("begin");
const kept = [];
for (let i = 0; i < 100; i++) kept.push(Buffer.alloc(16 << 20, 1));
console.log("ACHIEVED", kept.length);
