#include "check.hpp"

int main()
{
    for (const check::test &test : check::tests()) {
        std::fprintf(stderr, "%s\n", test.name);
        test.run();
    }
    std::printf("%zu tests\n", check::tests().size());
    return check::tests().empty() ? 1 : 0;
}
