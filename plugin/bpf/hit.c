/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* At ingress of the overlay's device and of the node's end of each pod's veth: a packet of a flow that was learned
 * passes the network stack by. Everything else goes on as if this program were not there. */
#include <linux/pkt_cls.h>

#include "encapsulate.h"

/* The packet goes on as without this program. */
INLINE int slow(__u32 why)
{
	count(why);
	return TC_ACT_UNSPEC;
}

/* Bytes of the largest IP packet that becomes of it. */
INLINE __u32 largest(struct __sk_buff *skb, const struct packet *packet)
{
	return skb->gso_size ? packet->network + packet->transport + skb->gso_size : skb->len - ETHERNET;
}

/* Counts TTL or hop limit down, and puts Ethernet addresses in front. */
INLINE int rewrite(struct __sk_buff *skb, const struct packet *packet, const __u32 *macs)
{
	void *data, *end;

	if (packet->network == IPV6)
		/* A checksum of the whole packet that the device has made: the word of the hop limit is less by one. */
		csum_update(skb, ~(__u32)BE16(1));
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (packet->network == IPV4) {
		struct ipv4 *ip = data + ETHERNET;
		__u32 sum;

		if ((void *)(ip + 1) > end)
			return 0;
		/* RFC 1624 */
		sum = ip->checksum + BE16(0x0100);
		ip->checksum = sum + (sum >= 0xffff);
		ip->ttl--;
	} else {
		struct ipv6 *ip = data + ETHERNET;

		if ((void *)(ip + 1) > end)
			return 0;
		ip->hops--;
	}
	COPY(data, macs, 12);
	return 1;
}

SECTION("tc/hit") int hit(struct __sk_buff *skb)
{
	struct network *network;
	struct packet packet = {};
	struct flow *found, flow;
	struct end from, to;
	__u32 now, age;

	network = this_network();
	if (!network || !network->on)
		return TC_ACT_UNSPEC;
	if (skb->pkt_type != PACKET_HOST || !parse(skb, &packet))
		return slow(OTHER);
	if (packet.tcp_flags & (FIN | RST))
		return slow(HANDSHAKE);
	found = map_lookup(&flows_map, &packet.key);
	if (!found)
		return slow(packet.tcp_flags & SYN ? HANDSHAKE : UNKNOWN);

	/* An element may be given to another flow while it is read. Its key is written before all else of it, so
	 * what was read before the key is the flow's if the key still is. */
	flow = *found;
	from = *end_of(found, packet.from);
	to = *end_of(found, !packet.from);
	BARRIER();
	if (!same_key(&found->key, &packet.key) || flow.generation != network->generation)
		return slow(UNKNOWN);
	/* Nobody but this end's own device sends for it. */
	if (from.ifindex != skb->ifindex)
		return slow(ASTRAY);
	if (skb->ifindex == network->overlay && skb->priority != network->judged)
		return slow(ASTRAY);
	if (packet.tcp_flags & SYN) {
		map_delete(&flows_map, &packet.key);
		return slow(HANDSHAKE);
	}

	now = ticks();
	age = now - from.approved;
	if (!from.approved || age >= 2 * network->second)
		return slow(STALE);
	if (age >= network->second && now - from.asked >= network->second) {
		/* Several at once do no harm. */
		end_of(found, packet.from)->asked = now;
		return slow(ASKED);
	}
	if (packet.ttl <= 1)
		return slow(EXPIRES);
	if (largest(skb, &packet) > to.mtu)
		return slow(TOO_LARGE);

	if (!rewrite(skb, &packet, to.macs))
		return slow(OTHER);
	if (to.ifindex != network->overlay) {
		/* Neither goes from one namespace to another. */
		skb->mark = 0;
		skb->priority = 0;
		count(TO_POD);
		return redirect_peer(to.ifindex, 0);
	}
	skb->mark = to.mark;
	skb->priority = to.priority;
	if (flow.uplink && is_simple(skb, &packet)) {
		long sent = encapsulate(skb, network, &packet, &flow, to.macs);

		if (sent != UNCHANGED) {
			count(sent == TC_ACT_REDIRECT ? TO_UPLINK : FAILED);
			return sent;
		}
	}
	count(TO_OVERLAY);
	return redirect(to.ifindex, 0);
}
