import std/strutils
let numbers = stdin.readLine.splitWhitespace
let word = stdin.readLine
echo parseInt(numbers[0]) + parseInt(numbers[1])
echo word, "→ok"
