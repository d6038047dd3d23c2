public class Main {
    public static void main(String[] args) {
        int made = 0;
        try {
            for (; made < 10000; made++) {
                Thread thread = new Thread(() -> { try { Thread.sleep(1000000); } catch (InterruptedException e) { } });
                thread.setDaemon(true);
                thread.start();
            }
            System.out.println("ACHIEVED " + made + " threads");
        } catch (OutOfMemoryError refused) {
            System.out.println("denied");
        }
        System.out.println("DONE");
        System.out.flush();
        Runtime.getRuntime().halt(0);
    }
}
