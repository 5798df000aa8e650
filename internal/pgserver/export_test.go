package pgserver

// DebianRoot lets tests put Debian's layout elsewhere.
var DebianRoot = &debianRoot
