/* Counts how often the guest executes each of its blocks, between marks that the guest sets.
 *
 * A plugin of qemu-user 7.2. Debian ships no header for plugins, so the few functions used are declared here as
 * the emulator's documentation describes them. The argument out=FILE names the output. A block is what the emulator
 * translates at once: instructions at consecutive addresses, of which only the last may be a branch. At each mark,
 * the output takes a line for each block that was executed since the mark before, then a line for the mark:
 *
 *     NUMBER EXECUTIONS ADDRESS WORDS    the first time that the block is written
 *     NUMBER EXECUTIONS                  later
 *     mark NUMBER VCPUS
 *
 * ADDRESS is hexadecimal, and WORDS has eight hexadecimal digits for each instruction. A mark is
 * lseek(MARK, number, 0), which fails with EBADF on every machine and changes nothing.
 *
 * Counters are raised by inline operations, one for each execution of a block: exact for one thread, which is why
 * the number of vCPUs is written. A block that is translated again keeps its counter if its words are the same.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { API = 1, INLINE_ADD_U64 = 0, LSEEK = 62, MARK = -0x41726d, BUCKETS = 1 << 17 };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

extern void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned vcpu));
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
extern const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

EXPORT int qemu_plugin_version = API;

struct block {
    uint64_t executions, written; /* in all, and at the last mark */
    uint64_t address;
    struct block *in_bucket, *before;
    unsigned number; /* 0 before it is first written */
    unsigned size;
    uint32_t words[];
};

static struct block *buckets[BUCKETS], *newest;
static unsigned vcpus, numbers;
static atomic_flag busy = ATOMIC_FLAG_INIT; /* threads of the guest translate and set marks at once */
static FILE *out;

static void on_vcpu(plugin_id id, unsigned vcpu)
{
    (void)id, (void)vcpu;
    vcpus++;
}

static void lock(void)
{
    while (atomic_flag_test_and_set_explicit(&busy, memory_order_acquire))
        ;
}

static void unlock(void)
{
    atomic_flag_clear_explicit(&busy, memory_order_release);
}

static void on_block(plugin_id id, struct qemu_plugin_tb *translated)
{
    size_t size = qemu_plugin_tb_n_insns(translated), bytes = size * sizeof(uint32_t);
    struct block *made = malloc(sizeof *made + bytes), *found;
    struct block **bucket;
    (void)id;
    if (!made)
        abort();
    *made = (struct block){.address = qemu_plugin_tb_vaddr(translated), .size = (unsigned)size};
    for (size_t i = 0; i < size; i++)
        memcpy(&made->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(translated, i)), sizeof(uint32_t));
    lock();
    bucket = &buckets[(made->address >> 2) % BUCKETS];
    for (found = *bucket; found; found = found->in_bucket)
        if (found->address == made->address && found->size == size && !memcmp(found->words, made->words, bytes))
            break;
    if (found) {
        free(made);
    } else {
        found = made;
        found->in_bucket = *bucket, *bucket = found;
        found->before = newest, newest = found;
    }
    unlock();
    qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &found->executions, 1);
}

static void write_block(struct block *block)
{
    uint64_t executions = block->executions - block->written;
    if (!executions)
        return;
    block->written = block->executions;
    if (block->number) {
        fprintf(out, "%u %" PRIu64 "\n", block->number, executions);
        return;
    }
    block->number = ++numbers;
    fprintf(out, "%u %" PRIu64 " %" PRIx64 " ", block->number, executions, block->address);
    for (unsigned i = 0; i < block->size; i++)
        fprintf(out, "%08" PRIx32, block->words[i]);
    fputc('\n', out);
}

static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t file, uint64_t mark, uint64_t c,
                       uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)vcpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != LSEEK || (int32_t)file != MARK)
        return;
    lock();
    for (struct block *block = newest; block; block = block->before)
        write_block(block);
    fprintf(out, "mark %" PRIu64 " %u\n", mark, vcpus);
    fflush(out);
    unlock();
}

EXPORT int qemu_plugin_install(plugin_id id, const void *emulator, int argc, char **argv)
{
    (void)emulator;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4) && !(out = fopen(argv[i] + 4, "w")))
            return fprintf(stderr, "count: %s cannot be written\n", argv[i] + 4), -1;
    if (!out)
        return fprintf(stderr, "count: needs out=FILE\n"), -1;
    qemu_plugin_register_vcpu_init_cb(id, on_vcpu);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
