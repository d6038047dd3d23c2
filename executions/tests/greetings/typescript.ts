import { readFileSync } from "fs";

const name: string = readFileSync(0, "utf8").trim();
console.log(`Grüße, ${name}!`);
process.exit(3);
