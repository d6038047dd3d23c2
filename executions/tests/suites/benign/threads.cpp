#include <atomic>
#include <future>
#include <iostream>
#include <map>
#include <thread>
#include <vector>
int main()
{
    std::atomic<int> count{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 32; i++)
        threads.emplace_back([&] { for (int j = 0; j < 1000; j++) count++; });
    for (auto &thread : threads)
        thread.join();
    auto later = std::async(std::launch::async, [] { return 42; });
    std::map<std::string, int> words{{"b", 2}, {"a", 1}};
    std::cout << count << ' ' << later.get() << ' ' << words.begin()->first << '\n';
}
