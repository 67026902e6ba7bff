package dns

import (
	"sync"
	"time"

	"github.com/miekg/dns"
	"k8s.io/utils/lru"
)

const (
	cacheEntries = 4096
	maxCacheTTL  = 30 * time.Second
)

// cache remembers answers of resolvers for a short while, those that say no included.
type cache struct {
	mu      sync.Mutex
	entries *lru.Cache // string → *cached
}

type cached struct {
	response *dns.Msg
	stored   time.Time
	until    time.Time
}

func newCache() *cache { return &cache{entries: lru.New(cacheEntries)} }

// get returns an answer that is still good, with the time that has passed taken off its records.
func (c *cache) get(key string, now time.Time) *dns.Msg {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, ok := c.entries.Get(key)
	if !ok {
		return nil
	}
	e := value.(*cached)
	if !now.Before(e.until) {
		c.entries.Remove(key)
		return nil
	}
	out := e.response.Copy()
	passed := uint32(now.Sub(e.stored) / time.Second)
	for _, section := range [][]dns.RR{out.Answer, out.Ns, out.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl -= min(h.Ttl, passed)
			}
		}
	}
	return out
}

func (c *cache) put(key string, response *dns.Msg, now time.Time) {
	keep := lifetime(response)
	if keep <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Add(key, &cached{response: response.Copy(), stored: now, until: now.Add(keep)})
}

// lifetime is how long an answer may be remembered: as long as its shortest record, or, for one that says no, as its
// SOA record allows. What is truncated or failed is not remembered.
func lifetime(response *dns.Msg) time.Duration {
	if response.Truncated || response.Rcode != dns.RcodeSuccess && response.Rcode != dns.RcodeNameError {
		return 0
	}
	keep := maxCacheTTL
	if len(response.Answer) == 0 {
		keep = 0
		for _, rr := range response.Ns {
			if soa, ok := rr.(*dns.SOA); ok {
				keep = min(maxCacheTTL, time.Duration(min(soa.Minttl, soa.Hdr.Ttl))*time.Second)
			}
		}
	}
	for _, rr := range response.Answer {
		keep = min(keep, time.Duration(rr.Header().Ttl)*time.Second)
	}
	return keep
}
