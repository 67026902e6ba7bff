package machine

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// hugePages is where the kernel lists the sizes of huge pages that it knows, and how many of each are set aside.
const hugePages = "/sys/kernel/mm/hugepages"

// addHugePages adds what is set aside for huge pages, and a zero for each other size that the machine knows.
func addHugePages(list corev1.ResourceList, root string) {
	sizes, err := os.ReadDir(root)
	if err != nil {
		return // none are known
	}
	for _, entry := range sizes {
		text, ok := strings.CutPrefix(entry.Name(), "hugepages-")
		size, err := resource.ParseQuantity(strings.TrimSuffix(text, "kB") + "Ki")
		if !ok || err != nil {
			continue
		}
		size = *resource.NewQuantity(size.Value(), resource.BinarySI) // 2048Ki is told as 2Mi
		count, err := strconv.ParseInt(line(filepath.Join(root, entry.Name(), "nr_hugepages")), 10, 64)
		if err != nil {
			continue
		}
		list[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = *resource.NewQuantity(count*size.Value(), resource.BinarySI)
	}
}

// HugePages are those of a list's amounts that are huge pages.
func HugePages(list corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, amount := range list {
		if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
			out[name] = amount
		}
	}
	return out
}
