/// The version of this build.
package enum BuildVersion {
    package static let current = "0.1.0"
}
