package main

func main() { var text string = 5 }
