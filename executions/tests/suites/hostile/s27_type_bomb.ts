type Grow<T extends unknown[], N extends number> = T["length"] extends N ? T : Grow<[...T, 0], N>;
type A = Grow<[], 999>[number] | Grow<[], 998>["length"];
type Digits = "0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9";
type Wide = `${Digits}${Digits}${Digits}${Digits}${Digits}`;
type Wider = `${Wide}${Digits}`;
const text: Wider = "000000";
const count: A = 0;
console.log(text, count);
