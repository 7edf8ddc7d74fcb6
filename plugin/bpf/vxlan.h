/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* VXLAN (RFC 7348): the headers that are in front of a pod's packet. */
#pragma once

#include "packet.h"

#define UDP 8
#define VXLAN 8
/* "The VNI is valid." */
#define VXLAN_FLAGS BE32(0x08000000)

/* What users send to a VTEP's port, perhaps several datagrams in one packet, has no more hops left; what a device wrapped has.
 * As in plugin/src/identity.rs. */
#define HOPS_OF_USERS 16

struct vxlan {
	struct udp udp;
	__u32 flags;
	__u32 vni;
	__u8 macs[12];
	__u16 protocol;
} __attribute__((packed));

struct outer4 {
	struct ipv4 ip;
	struct vxlan vxlan;
} __attribute__((packed));

struct outer6 {
	struct ipv6 ip;
	struct vxlan vxlan;
} __attribute__((packed));

INLINE __u16 folded(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}
