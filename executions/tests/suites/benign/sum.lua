local a, b = io.read("n", "n", "l")
local word = io.read("l")
print(math.tointeger(a + b))
print(word .. "→ok")
