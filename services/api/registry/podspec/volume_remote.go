package podspec

import (
	"path"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// mandatory names, by type, the fields of remote volumes that must not be empty.
var mandatory = map[reflect.Type][]string{
	typeOf[corev1.NFSVolumeSource]():                  {"Server", "Path"},
	typeOf[corev1.ISCSIVolumeSource]():                {"TargetPortal", "IQN"},
	typeOf[corev1.ISCSIPersistentVolumeSource]():      {"TargetPortal", "IQN"},
	typeOf[corev1.GlusterfsVolumeSource]():            {"EndpointsName", "Path"},
	typeOf[corev1.GlusterfsPersistentVolumeSource]():  {"EndpointsName", "Path"},
	typeOf[corev1.RBDVolumeSource]():                  {"CephMonitors", "RBDImage"},
	typeOf[corev1.RBDPersistentVolumeSource]():        {"CephMonitors", "RBDImage"},
	typeOf[corev1.CephFSVolumeSource]():               {"Monitors"},
	typeOf[corev1.CephFSPersistentVolumeSource]():     {"Monitors"},
	typeOf[corev1.CinderVolumeSource]():               {"VolumeID"},
	typeOf[corev1.CinderPersistentVolumeSource]():     {"VolumeID"},
	typeOf[corev1.FlexVolumeSource]():                 {"Driver"},
	typeOf[corev1.FlexPersistentVolumeSource]():       {"Driver"},
	typeOf[corev1.AzureFileVolumeSource]():            {"SecretName", "ShareName"},
	typeOf[corev1.AzureFilePersistentVolumeSource]():  {"SecretName", "ShareName"},
	typeOf[corev1.VsphereVirtualDiskVolumeSource]():   {"VolumePath"},
	typeOf[corev1.QuobyteVolumeSource]():              {"Registry", "Volume"},
	typeOf[corev1.AzureDiskVolumeSource]():            {"DiskName", "DataDiskURI"},
	typeOf[corev1.PhotonPersistentDiskVolumeSource](): {"PdID"},
	typeOf[corev1.PortworxVolumeSource]():             {"VolumeID"},
	typeOf[corev1.ScaleIOVolumeSource]():              {"Gateway", "System", "VolumeName"},
	typeOf[corev1.ScaleIOPersistentVolumeSource]():    {"Gateway", "System", "VolumeName"},
	typeOf[corev1.GCEPersistentDiskVolumeSource]():    {"PDName"},
	typeOf[corev1.AWSElasticBlockStoreVolumeSource](): {"VolumeID"},
	typeOf[corev1.GitRepoVolumeSource]():              {"Repository"},
	typeOf[corev1.LocalVolumeSource]():                {"Path"},
}

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// ValidateRemoteVolume reports what is missing in a volume of a system outside the cluster; source points to one of
// Kubernetes' volume source types.
func ValidateRemoteVolume(e *check.Errors, p *field.Path, source any) {
	v := reflect.ValueOf(source).Elem()
	for _, name := range mandatory[v.Type()] {
		f, _ := v.Type().FieldByName(name)
		if v.FieldByName(name).Len() == 0 {
			e.Required(p.Child(jsonName(f)), "")
		}
	}
	switch v := source.(type) {
	case *corev1.NFSVolumeSource:
		e.If(v.Path != "" && !path.IsAbs(v.Path), p.Child("path"), v.Path, "must be an absolute path")
	case *corev1.ISCSIVolumeSource:
		validateISCSI(e, p, v.IQN, v.Lun, v.InitiatorName, (v.DiscoveryCHAPAuth || v.SessionCHAPAuth) && v.SecretRef == nil)
	case *corev1.ISCSIPersistentVolumeSource:
		validateISCSI(e, p, v.IQN, v.Lun, v.InitiatorName, (v.DiscoveryCHAPAuth || v.SessionCHAPAuth) && v.SecretRef == nil)
	case *corev1.AzureDiskVolumeSource:
		validateAzureDisk(e, p, v)
	}
}

// jsonName is the name of a struct's field in JSON.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}
