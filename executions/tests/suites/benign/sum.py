a, b = map(int, input().split())
word = input()
print(a + b)
print(f"{word}→ok")
