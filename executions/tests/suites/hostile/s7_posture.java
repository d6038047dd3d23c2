import java.nio.file.*;
public class Main {
    public static void main(String[] args) throws Exception {
        System.out.println(new String(Files.readAllBytes(Path.of("/proc/self/status"))) + "DONE");
    }
}
