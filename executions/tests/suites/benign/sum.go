package main

import "fmt"

func main() {
	var a, b int
	var word string
	fmt.Scan(&a, &b, &word)
	fmt.Println(a + b)
	fmt.Println(word + "→ok")
}
