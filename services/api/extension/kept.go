package extension

import (
	"crypto/sha256"
	"sync"
)

// keptBytes bounds what a definition's converter keeps of what its webhook has said.
const keptBytes = 8 << 20

// kept are conversions by what was converted, and to which version. The older half is forgotten when it is full. Its zero
// value is ready, and safe for concurrent use.
type kept struct {
	mu         sync.Mutex
	young, old map[[sha256.Size]byte][]byte
	size       int
}

func keyOf(to string, data []byte) (key [sha256.Size]byte) {
	h := sha256.New()
	h.Write([]byte(to))
	h.Write([]byte{0})
	h.Write(data)
	h.Sum(key[:0])
	return key
}

// find returns what data was converted to; nil when it is not known.
func (k *kept) find(to string, data []byte) []byte {
	key := keyOf(to, data)
	k.mu.Lock()
	defer k.mu.Unlock()
	if known := k.young[key]; known != nil {
		return known
	}
	return k.old[key]
}

func (k *kept) add(to string, data, converted []byte) {
	key := keyOf(to, data)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.young == nil || k.size+len(converted) > keptBytes/2 {
		k.young, k.old, k.size = map[[sha256.Size]byte][]byte{}, k.young, 0
	}
	k.young[key] = converted
	k.size += len(converted) + sha256.Size
}

// sweep forgets what nobody has asked for since the sweep before the last.
func (k *kept) sweep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.young, k.old, k.size = nil, k.young, 0
}
