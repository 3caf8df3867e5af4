// Ports for a member list, which names them all before any node listens.
//
// A port that was merely free a moment ago may be another test's by the time a node binds it. So each stays bound,
// by a socket that never listens, until the process ends: the kernel gives it to nobody, a listener that sets
// SO_REUSEADDR may bind it beside that socket, and until one does connections are refused.

import Glibc

package struct NoPort: Error {
    package var code: Int32
}

/// Ports on 127.0.0.1 that no one else in this process, or outside, is given.
package func reservedPorts(_ count: Int) throws -> [Int] { try (0..<count).map { _ in try reservedPort() } }

private func reservedPort() throws -> Int {
    let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard file >= 0 else { throw NoPort(code: errno) }
    var yes: Int32 = 1
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, socklen_t(MemoryLayout<Int32>.size)) == 0
                && bind(file, $0, length) == 0 && getsockname(file, $0, &length) == 0
        }
    }
    guard isBound else {
        let code = errno
        close(file)
        throw NoPort(code: code)
    }
    return Int(UInt16(bigEndian: address.sin_port))
}
