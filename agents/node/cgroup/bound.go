package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Bound gives a group the bounds that engines know nothing of. limits are its container's.
func (g Group) Bound(limits corev1.ResourceList) error {
	return errors.Join(g.dieTogether(), g.boundHugePages(limits))
}

// dieTogether makes the kernel end all of a group's processes when their memory runs out, and not just one, whose end the
// container might not even notice. Version 1 has nothing like it.
func (g Group) dieTogether() error {
	dir, v2 := g.dirs[""]
	if !v2 {
		return nil
	}
	return write(filepath.Join(dir, "memory.oom.group"), "1")
}

// boundHugePages gives a group the huge pages that are among its limits, and none of other sizes.
func (g Group) boundHugePages(limits corev1.ResourceList) error {
	dir, suffix := g.dirs[""], ".max"
	if dir == "" {
		dir, suffix = g.dirs["hugetlb"], ".limit_in_bytes"
	}
	if dir == "" {
		return nil
	}
	files, err := filepath.Glob(filepath.Join(dir, "hugetlb.*B"+suffix))
	if err != nil {
		return fmt.Errorf("find the bounds of huge pages: %w", err)
	}
	var errs []error
	for _, file := range files {
		size, err := pageSize(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "hugetlb."), suffix))
		if err != nil {
			continue
		}
		amount := limits[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())]
		errs = append(errs, write(file, strconv.FormatInt(amount.Value(), 10)))
	}
	return errors.Join(errs...)
}

// pageSize reads the kernel's "2MB" as 2Mi.
func pageSize(text string) (resource.Quantity, error) {
	return resource.ParseQuantity(strings.TrimSuffix(text, "B") + "i")
}

// write writes a file of a group. One that has ended needs no bounds.
func write(file, text string) error {
	err := os.WriteFile(file, []byte(text), 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bound a control group: %w", err)
	}
	return nil
}
