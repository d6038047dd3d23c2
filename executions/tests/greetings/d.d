import std.stdio;
import std.string;

int main()
{
    writefln("Grüße, %s!", readln().strip());
    return 3;
}
