local name = io.read("l")
print("Grüße, " .. name .. "!")
os.exit(3)
