package podspec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"karve.dev/karve/services/api/registry/check"
)

// validateAzureDisk checks that the address of a disk has the form that its kind has.
func validateAzureDisk(e *check.Errors, p *field.Path, v *corev1.AzureDiskVolumeSource) {
	if m := v.CachingMode; m != nil {
		check.Among(e, p.Child("cachingMode"), *m, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if v.Kind == nil {
		return
	}
	check.Among(e, p.Child("kind"), *v.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
	begin, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *v.Kind == corev1.AzureManagedDisk {
		begin, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(v.DataDiskURI, begin) {
		e.Add(field.NotSupported(p.Child("diskURI"), v.DataDiskURI, []string{form}))
	}
}
