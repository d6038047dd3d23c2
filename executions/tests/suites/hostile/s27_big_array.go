package main

var big = [1 << 31]byte{1 << 30: 1}

func main() { println(big[5]) }
