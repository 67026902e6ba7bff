package podspec

import (
	corev1 "k8s.io/api/core/v1"
)

func defaultVolume(v *corev1.Volume) {
	s := &v.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	switch {
	case s.Secret != nil:
		point(&s.Secret.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	case s.ConfigMap != nil:
		point(&s.ConfigMap.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	case s.DownwardAPI != nil:
		point(&s.DownwardAPI.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		defaultDownwardItems(s.DownwardAPI.Items)
	case s.Projected != nil:
		defaultProjected(s.Projected)
	case s.HostPath != nil:
		point(&s.HostPath.Type, corev1.HostPathUnset)
	case s.Image != nil:
		set(&s.Image.PullPolicy, pullPolicy(s.Image.Reference))
	case s.Ephemeral != nil:
		if t := s.Ephemeral.VolumeClaimTemplate; t != nil {
			DefaultClaim(&t.Spec)
		}
	case s.EmptyDir != nil:
		if q := s.EmptyDir.SizeLimit; q != nil {
			q.RoundUp(-3)
		}
	default:
		defaultRemoteVolume(s)
	}
}

// DefaultClaim fills in what a persistent volume claim leaves out.
func DefaultClaim(c *corev1.PersistentVolumeClaimSpec) {
	point(&c.VolumeMode, corev1.PersistentVolumeFilesystem)
	RoundResources(c.Resources.Limits)
	RoundResources(c.Resources.Requests)
}

func defaultProjected(p *corev1.ProjectedVolumeSource) {
	const hour = 60 * 60
	point(&p.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range p.Sources {
		if d := p.Sources[i].DownwardAPI; d != nil {
			defaultDownwardItems(d.Items)
		}
		if t := p.Sources[i].ServiceAccountToken; t != nil {
			point(&t.ExpirationSeconds, int64(hour))
		}
	}
}

func defaultDownwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if f := items[i].FieldRef; f != nil {
			set(&f.APIVersion, "v1")
		}
	}
}

// defaultRemoteVolume is for the volumes of storage systems outside the cluster.
func defaultRemoteVolume(s *corev1.VolumeSource) {
	switch {
	case s.ISCSI != nil:
		set(&s.ISCSI.ISCSIInterface, "default")
	case s.RBD != nil:
		set(&s.RBD.RBDPool, "rbd")
		set(&s.RBD.RadosUser, "admin")
		set(&s.RBD.Keyring, "/etc/ceph/keyring")
	case s.AzureDisk != nil:
		point(&s.AzureDisk.CachingMode, corev1.AzureDataDiskCachingReadWrite)
		point(&s.AzureDisk.Kind, corev1.AzureSharedBlobDisk)
		point(&s.AzureDisk.FSType, "ext4")
		point(&s.AzureDisk.ReadOnly, false)
	case s.ScaleIO != nil:
		set(&s.ScaleIO.StorageMode, "ThinProvisioned")
		set(&s.ScaleIO.FSType, "xfs")
	}
}
