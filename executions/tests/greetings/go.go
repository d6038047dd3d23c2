package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Scan()
	fmt.Printf("Grüße, %s!\n", in.Text())
	os.Exit(3)
}
