import * as fs from "fs";
const [first, word]: string[] = fs.readFileSync(0, "utf8").split("\n");
const [a, b]: number[] = first.split(" ").map(Number);
console.log(a + b);
console.log(`${word}→ok`);
