// Counts what a program launches on a GPU, work of libraries included. CUDA loads it where CUDA_INJECTION64_PATH
// names it; when the program ends, the count lies in the file that SEQLAB_LAUNCHES names. CUPTI, which libtorch for
// CUDA brings, calls it back for every call of CUDA: https://docs.nvidia.com/cupti, "Callback API".

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// The part of CUpti_CallbackData that is read.
struct call {
    int site;  // 0: it begins
    const char *name;
};

enum { DRIVER = 1, RUNTIME = 2 };

static atomic_ullong launches;
static _Thread_local int inside;  // calls of the runtime that are under way

static int launching(const char *name) {
    return strstr(name, "Launch") || strstr(name, "Memcpy") || strstr(name, "Memset");
}

static void called(void *unused, int domain, uint32_t id, const struct call *call) {
    (void)unused, (void)id;
    // What the runtime asks of the driver in its turn is one launch, not two.
    int outermost = inside == 0;
    if (domain == RUNTIME) inside += call->site == 0 ? 1 : -1;
    // Callbacks may begin within a call.
    if (inside < 0) inside = 0;
    if (call->site == 0 && outermost && call->name && launching(call->name)) atomic_fetch_add(&launches, 1);
}

static void *find(const char *name) {
    void *found = dlsym(RTLD_DEFAULT, name);
    if (!found) fprintf(stderr, "count_launches: there is no %s\n", name);
    return found;
}

// What CUDA calls when it starts.
int InitializeInjection(void) {
    static void *subscriber;
    int (*subscribe)(void **, void (*)(void *, int, uint32_t, const struct call *), void *) =
        (int (*)(void **, void (*)(void *, int, uint32_t, const struct call *), void *))find("cuptiSubscribe");
    int (*enable)(uint32_t, void *, int) = (int (*)(uint32_t, void *, int))find("cuptiEnableDomain");
    if (!subscribe || !enable || subscribe(&subscriber, called, NULL)) return 0;
    return !enable(1, subscriber, RUNTIME) && !enable(1, subscriber, DRIVER);
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("SEQLAB_LAUNCHES");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (!file) return;
    fprintf(file, "%llu\n", (unsigned long long)atomic_load(&launches));
    fclose(file);
}
