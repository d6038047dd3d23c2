package greetings;

import java.util.Scanner;

// class Wrong is only named in a comment
public final class Greeting {
    public static void main(String[] args) {
        String name = new Scanner(System.in).nextLine();
        System.out.println("Grüße, " + name + "!");
        System.exit(3);
    }
}
