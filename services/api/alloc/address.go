package alloc

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// ipRange is the usable addresses of a prefix: without the network's own address and, for IPv4, the broadcast one.
type ipRange struct {
	prefix netip.Prefix
	// size is how many addresses are usable; reserved how many at the beginning are left to those who ask by name.
	size, reserved uint64
}

// maxRange bounds what is used of a huge prefix.
const maxRange = 1 << 32

func newIPRange(p netip.Prefix) (ipRange, error) {
	bits := p.Addr().BitLen() - p.Bits()
	if !p.IsValid() || bits < 2 {
		return ipRange{}, fmt.Errorf("the Service range %v is too small", p)
	}
	size := uint64(maxRange)
	if bits < 32 {
		size = 1 << bits
	}
	r := ipRange{prefix: p.Masked(), size: size - 1}
	if p.Addr().Is4() {
		r.size--
	}
	r.reserved = min(max(16, size/16), 256)
	if r.reserved >= r.size {
		r.reserved = 0
	}
	return r, nil
}

// at returns the n-th usable address, from 0.
func (r ipRange) at(n uint64) netip.Addr {
	base := r.prefix.Addr().AsSlice()
	sum := new(big.Int).SetBytes(base)
	sum.Add(sum, new(big.Int).SetUint64(n+1))
	out := make([]byte, len(base))
	addr, _ := netip.AddrFromSlice(sum.FillBytes(out))
	return addr
}

// usable reports whether an address may be given to a Service.
func (r ipRange) usable(ip netip.Addr) bool {
	if !r.prefix.Contains(ip) || ip == r.prefix.Addr() {
		return false
	}
	return !ip.Is4() || r.prefix.Contains(ip.Next())
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// addresses makes sure that a Service has an address in each of its families.
func (p *plan) addresses(s *corev1.Service) {
	if !hasAddress(s) {
		return
	}
	p.families(s)
	if len(s.Spec.ClusterIPs) > len(s.Spec.IPFamilies) {
		s.Spec.ClusterIPs = s.Spec.ClusterIPs[:len(s.Spec.IPFamilies)]
	}
	for i, family := range s.Spec.IPFamilies {
		if p.err != nil || len(p.bad) > 0 {
			return
		}
		if i < len(s.Spec.ClusterIPs) {
			p.asked(s, s.Spec.ClusterIPs[i])
			continue
		}
		if ip, ok := p.any(family); ok {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, ip)
		}
	}
	if len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
}

// families settles which families a Service has in this cluster.
func (p *plan) families(s *corev1.Service) {
	ranges := p.allocator.config.ClusterIPs
	policy := corev1.IPFamilyPolicySingleStack
	if s.Spec.IPFamilyPolicy != nil {
		policy = *s.Spec.IPFamilyPolicy
	}
	path := field.NewPath("spec")
	if policy == corev1.IPFamilyPolicyRequireDualStack && len(ranges) < 2 {
		p.bad = append(p.bad, field.Invalid(path.Child("ipFamilyPolicy"), policy, "this cluster is not configured for dual-stack services"))
		return
	}
	for i, family := range s.Spec.IPFamilies {
		if _, ok := p.allocator.ranges[family]; ok {
			continue
		}
		p.bad = append(p.bad, field.Invalid(path.Child("ipFamilies").Index(i), family, "not configured on this cluster"))
		return
	}
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{familyOf(ranges[0].Addr())}
	}
	if policy == corev1.IPFamilyPolicySingleStack {
		s.Spec.IPFamilies = s.Spec.IPFamilies[:1]
		return
	}
	for _, r := range ranges {
		if len(s.Spec.IPFamilies) == 1 && familyOf(r.Addr()) != s.Spec.IPFamilies[0] {
			s.Spec.IPFamilies = append(s.Spec.IPFamilies, familyOf(r.Addr()))
		}
	}
}

// asked reserves an address that the Service names.
func (p *plan) asked(s *corev1.Service, name string) {
	key := ipPrefix + name
	if p.held[key] {
		p.reserve(key)
		return
	}
	refuse := func(why string) {
		p.bad = append(p.bad, field.Invalid(field.NewPath("spec", "clusterIPs"), s.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", name, why)))
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		refuse("not a valid address")
		return
	}
	r, ok := p.allocator.ranges[familyOf(ip)]
	if !ok || !r.usable(ip) {
		refuse(fmt.Sprintf("the provided IP (%s) is not in the valid range. The range of valid IPs is %s", name, r.prefix))
		return
	}
	if p.taken(key) {
		refuse("provided IP is already allocated")
		return
	}
	p.reserve(key)
}

// any reserves some free address.
func (p *plan) any(family corev1.IPFamily) (string, bool) {
	r := p.allocator.ranges[family]
	ip, ok := p.find(r)
	if !ok {
		// Addresses that were released a moment ago may not be known yet.
		if err := p.allocator.config.Sync(p.ctx); err != nil {
			p.fail(err)
			return "", false
		}
		ip, ok = p.find(r)
	}
	if !ok {
		p.fail(apierrors.NewInternalError(errors.New("failed to allocate a serviceIP: range is full")))
		return "", false
	}
	p.reserve(ipPrefix + ip)
	return ip, true
}

const (
	// randomTries is how often an address is drawn before all are looked through.
	randomTries = 32
	// maxScan bounds the looking through.
	maxScan = 1 << 20
)

// find looks for a free address: at random where others do not ask by name, then wherever one is left.
func (p *plan) find(r ipRange) (string, bool) {
	free := func(n uint64) (string, bool) {
		ip := r.at(n).String()
		return ip, !p.allocator.config.Used(ip) && !p.want[ipPrefix+ip]
	}
	for range randomTries {
		if ip, ok := free(r.reserved + rand.Uint64N(r.size-r.reserved)); ok {
			return ip, true
		}
	}
	start := rand.Uint64N(r.size - r.reserved)
	for i := range min(r.size-r.reserved, maxScan) {
		if ip, ok := free(r.reserved + (start+i)%(r.size-r.reserved)); ok {
			return ip, true
		}
	}
	for n := range r.reserved {
		if ip, ok := free(n); ok {
			return ip, true
		}
	}
	return "", false
}
