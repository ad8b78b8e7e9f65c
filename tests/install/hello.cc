/* SPDX-License-Identifier: MIT */
/* hello.cc - a channel as a C++ class. */
#include <asyncore.h>
#include <cstdio>

namespace
{

class greeter
{
  public:
    greeter()
    {
        asyncore_dispatcher_init(&channel_, nullptr, -1, nullptr);
        asyncore_call_later(channel_.map, 0, greet, this);
    }

  private:
    static int greet(struct asyncore_map *, void *self)
    {
        auto *g = static_cast<greeter *>(self);

        std::printf("hello, asyncore %s\n", asyncore_version());
        return asyncore_close(&g->channel_);
    }

    struct asyncore_dispatcher channel_;
};

} // namespace

int main()
{
    greeter g;

    return asyncore_loop(5, false, nullptr, ASYNCORE_UNTIL_EMPTY);
}
