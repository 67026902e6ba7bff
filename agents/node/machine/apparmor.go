package machine

import "strings"

// AppArmor says whether the kernel confines programs by AppArmor's profiles.
func AppArmor() bool { return line("/sys/module/apparmor/parameters/enabled") == "Y" }

// HasProfile says whether a profile of AppArmor has been loaded, and that it has where the kernel does not tell.
func HasProfile(name string) bool {
	loaded := line("/sys/kernel/security/apparmor/profiles")
	if loaded == "" {
		return true
	}
	for entry := range strings.Lines(loaded) {
		// "name (mode)"; names may have spaces in them.
		if i := strings.LastIndex(entry, " ("); i >= 0 && entry[:i] == name {
			return true
		}
	}
	return false
}
