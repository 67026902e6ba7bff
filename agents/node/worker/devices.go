package worker

import (
	"fmt"

	"karve.dev/karve/agents/node/runtime"
	"karve.dev/karve/agents/node/volume"
)

// volumes are the pod's volumes, which have been prepared.
func (s *starting) volumes() *volume.Prepared {
	s.worker.mu.Lock()
	defer s.worker.mu.Unlock()
	return s.prepared
}

// devices passes block devices among the pod's volumes into the container.
func (s *starting) devices() ([]runtime.Device, error) {
	prepared := s.volumes()
	var out []runtime.Device
	for _, d := range s.c.VolumeDevices {
		source, ok := prepared.Paths[d.Name]
		switch {
		case !ok:
			return nil, fmt.Errorf("volume %q is not one of the pod's", d.Name)
		case !prepared.Devices[d.Name]:
			return nil, fmt.Errorf("volume %q has volumeMode Filesystem, but is specified in volumeDevices", d.Name)
		}
		permissions := "rwm"
		if prepared.ReadOnly[d.Name] {
			permissions = "r"
		}
		out = append(out, runtime.Device{Source: source, Target: d.DevicePath, Permissions: permissions})
	}
	return out, nil
}
