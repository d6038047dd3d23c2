using System;

class Greeting
{
    static int Main()
    {
        string name = Console.ReadLine();
        Console.WriteLine($"Grüße, {name}!");
        return 3;
    }
}
