template <class T> struct Wide { static auto f() { return Wide<Wide<T>>::f() + Wide<T*>::f(); } };
int main() { return Wide<int>::f(); }
