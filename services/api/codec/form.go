package codec

import (
	"karve.dev/karve/services/api/registry"
)

// Store returns the value to store for an object of a kind, in the form of the kind's hub.
func Store(k *registry.Kind, obj registry.Object) ([]byte, error) {
	if k.Form != nil {
		obj = k.Form.To(obj)
	}
	if k.Custom != nil && k.Custom.ToStorage != nil {
		var err error
		if obj, err = k.Custom.ToStorage(obj); err != nil {
			return nil, err
		}
	}
	return Encode(k.StorageKind(), obj)
}

// Load reads a stored value as an object of a kind.
func Load(k *registry.Kind, value []byte, revision int64) (registry.Object, error) {
	if k.Form == nil {
		obj := k.New()
		return obj, Decode(value, revision, obj)
	}
	hub := k.Form.Hub.New()
	if err := Decode(value, revision, hub); err != nil {
		return nil, err
	}
	return k.Form.From(hub), nil
}
