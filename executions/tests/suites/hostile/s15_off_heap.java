import java.nio.ByteBuffer;
import java.util.*;
public class Main {
    public static void main(String[] args) throws Exception {
        var field = sun.misc.Unsafe.class.getDeclaredField("theUnsafe");
        field.setAccessible(true);
        var unsafe = (sun.misc.Unsafe) field.get(null);
        System.out.println("begin");
        System.out.flush();
        for (int i = 0; i < 100; i++) {
            long block = unsafe.allocateMemory(16 << 20);
            unsafe.setMemory(block, 16 << 20, (byte) 1);
        }
        System.out.println("ACHIEVED 1.6 GiB");
    }
}
