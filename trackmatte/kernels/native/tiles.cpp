// Whether this CPU has tiles, and what they multiply.
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

// 0 nothing, 1 bfloat16, 2 float16 as well. Asks the system for leave to use them, which holds for the process.
extern "C" int tiles() {
    constexpr long ASK_FOR_STATE = 0x1023, TILE_DATA = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA
    constexpr unsigned BFLOAT16 = 1 << 22, TILE = 1 << 24, FLOAT16 = 1 << 21;
    unsigned a, b, c, d;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & TILE) || !(d & BFLOAT16)) return 0;
    if (syscall(SYS_arch_prctl, ASK_FOR_STATE, TILE_DATA)) return 0;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & FLOAT16 ? 2 : 1;
}
