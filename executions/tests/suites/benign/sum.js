const [first, word] = require("fs").readFileSync(0, "utf8").split("\n");
const [a, b] = first.split(" ").map(Number);
console.log(a + b);
console.log(`${word}→ok`);
