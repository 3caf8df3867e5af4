package import TorcReplication

/// The version of this build.
package enum BuildVersion {
    package static let current = "\(number)"
    package static let number = BuildNumber(major: 0, minor: 1, patch: 0)
}
