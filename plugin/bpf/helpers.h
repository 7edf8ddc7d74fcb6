/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* What the kernel offers to a BPF program: bpf-helpers(7). Each is called by its number in linux/bpf.h, so that
 * no library is needed to build. */
#pragma once

#include <linux/bpf.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))
#define UNLIKELY(what) __builtin_expect(!!(what), 0)

/* Keeps the compiler from moving reads of memory across. */
#define BARRIER() asm volatile("" ::: "memory")

/* Copies words, also to where none begins: both architectures that are built for take that. What the compiler is not told of
 * it copies by bytes. */
#define COPY(to, from, size) __builtin_memcpy(__builtin_assume_aligned(to, 4), __builtin_assume_aligned(from, 4), size)

/* The byte order of packets; both architectures that are built for are little-endian. */
#define BE16(x) __builtin_bswap16(x)
#define BE32(x) __builtin_bswap32(x)

static void *(*map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*map_update)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
/* The kernel's ticks: one instruction, where the time is a call. Linux 5.5 */
static __u64 (*jiffies)(void) = (void *)BPF_FUNC_jiffies64;
/* Nanoseconds since boot, as coarse as that. Linux 5.11 */
static __u64 (*now_coarse)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static long (*pull_data)(struct __sk_buff *skb, __u32 length) = (void *)BPF_FUNC_skb_pull_data;
static long (*load_bytes)(const struct __sk_buff *skb, __u32 offset, void *to, __u32 length) =
	(void *)BPF_FUNC_skb_load_bytes;
static long (*store_bytes)(struct __sk_buff *skb, __u32 offset, const void *from, __u32 length, __u64 flags) =
	(void *)BPF_FUNC_skb_store_bytes;
/* Linux 5.8 */
static long (*csum_level)(struct __sk_buff *skb, __u64 change) = (void *)BPF_FUNC_csum_level;
static long (*set_congested)(struct __sk_buff *skb) = (void *)BPF_FUNC_skb_ecn_set_ce;
static long (*csum_update)(struct __sk_buff *skb, __u32 csum) = (void *)BPF_FUNC_csum_update;
static __u32 (*flow_hash)(struct __sk_buff *skb) = (void *)BPF_FUNC_get_hash_recalc;
static long (*adjust_room)(struct __sk_buff *skb, __s32 bytes, __u32 mode, __u64 flags) =
	(void *)BPF_FUNC_skb_adjust_room;
static long (*redirect)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect;
/* Into the namespace of a veth's other end. Linux 5.10 */
static long (*redirect_peer)(__u32 ifindex, __u64 flags) = (void *)BPF_FUNC_redirect_peer;
/* Out by a device, with the MACs of this next hop. Linux 5.10 */
static long (*redirect_neigh)(__u32 ifindex, struct bpf_redir_neigh *hop, int size, __u64 flags) =
	(void *)BPF_FUNC_redirect_neigh;
static long (*fib_lookup)(void *context, struct bpf_fib_lookup *way, int size, __u32 flags) =
	(void *)BPF_FUNC_fib_lookup;
/* Linux 5.12 */
static long (*check_mtu)(void *context, __u32 ifindex, __u32 *mtu, __s32 difference, __u64 flags) =
	(void *)BPF_FUNC_check_mtu;
