/* Tells which blocks of the guest's code ran between two marks, and how often: see where_it_runs.py.
 *
 * A plugin of qemu-user 7.2, whose functions are declared here as its documentation describes them. Argument:
 * out=FILE takes, at each mark, a line "mark NUMBER" and a line "ADDRESS INSTRUCTIONS RUNS" for each block that ran
 * since the mark before. A mark is lseek(MARK, number, 0), as for the bench's own plugin.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { API = 1, INLINE_ADD_U64 = 0, LSEEK = 62, MARK = -0x41726d };

typedef uint64_t plugin_id;
struct qemu_plugin_tb;

extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int op, void *counter, uint64_t);
extern void qemu_plugin_register_vcpu_syscall_cb(
    plugin_id, void (*)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t, uint64_t));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);

EXPORT int qemu_plugin_version = API;

static struct block {
    struct block *next;
    uint64_t address, instructions, runs;
} *blocks;
static FILE *out;

static void on_block(plugin_id id, struct qemu_plugin_tb *translated)
{
    struct block *block = calloc(1, sizeof *block);
    (void)id;
    if (!block)
        abort();
    block->next = blocks, blocks = block;
    block->address = qemu_plugin_tb_vaddr(translated);
    block->instructions = qemu_plugin_tb_n_insns(translated);
    qemu_plugin_register_vcpu_tb_exec_inline(translated, INLINE_ADD_U64, &block->runs, 1);
}

static void on_syscall(plugin_id id, unsigned vcpu, int64_t number, uint64_t file, uint64_t mark, uint64_t c,
                       uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)vcpu, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number != LSEEK || (int32_t)file != MARK)
        return;
    fprintf(out, "mark %" PRIu64 "\n", mark);
    for (struct block *block = blocks; block; block = block->next)
        if (block->runs) {
            fprintf(out, "%" PRIx64 " %" PRIu64 " %" PRIu64 "\n", block->address, block->instructions, block->runs);
            block->runs = 0;
        }
    fflush(out);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *emulator, int argc, char **argv)
{
    (void)emulator;
    if (argc != 1 || strncmp(argv[0], "out=", 4) || !(out = fopen(argv[0] + 4, "w")))
        return fprintf(stderr, "where_it_runs: needs out=FILE that can be written\n"), -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_block);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
