import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
public class Main {
    record Point(int x, int y) {}
    public static void main(String[] args) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Integer>> found = new ArrayList<>();
        for (int i = 0; i < 10; i++) { final int n = i; found.add(pool.submit(() -> n * n)); }
        int total = 0;
        for (Future<Integer> one : found) total += one.get();
        pool.shutdown();
        System.out.println(total);
        System.out.println(IntStream.range(0, 1000).parallel().sum());
        Path file = Files.createTempFile("a", "b");
        Files.writeString(file, "ünïcode");
        System.out.println(Files.readString(file) + " " + new Point(1, 2));
        byte[][] blocks = new byte[60][];
        for (int i = 0; i < blocks.length; i++) blocks[i] = new byte[1 << 20];
        System.out.println(blocks.length);
    }
}
