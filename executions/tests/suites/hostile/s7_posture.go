package main

import (
	"fmt"
	"os"
)

func main() {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	fmt.Print(string(text), "DONE\n")
}
