/* A Modbus slave on libmodbus, for the tests: registers from stdin ("fc addr word" in decimal, an empty line ends them),
 * then one connection after the other on TCP (argv: tcp) or one serial line (argv: rtu PORT UNIT). Says "ready PORT". */
#include <errno.h>
#include <modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    modbus_mapping_t *map = modbus_mapping_new(1, 1, 65535, 65535);
    unsigned fc, addr, word;
    char line[64];
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    if (map == NULL || argc < 2) return 2;
    while (fgets(line, sizeof line, stdin) && sscanf(line, "%u %u %u", &fc, &addr, &word) == 3) {
        if (addr >= 65535) return 2;
        (fc == 4 ? map->tab_input_registers : map->tab_registers)[addr] = (uint16_t)word;
    }
    if (strcmp(argv[1], "rtu") == 0 && argc == 4) {
        modbus_t *ctx = modbus_new_rtu(argv[2], 9600, 'N', 8, 1);
        if (ctx == NULL || modbus_set_slave(ctx, atoi(argv[3])) || modbus_connect(ctx)) return 2;
        printf("ready 0\n");
        fflush(stdout);
        for (;;) {
            int size = modbus_receive(ctx, query);
            if (size > 0) modbus_reply(ctx, query, size, map);
        }
    }
    modbus_t *ctx = modbus_new_tcp("127.0.0.1", 0);
    int listener = modbus_tcp_listen(ctx, 1);
    struct sockaddr_in at;
    socklen_t length = sizeof at;
    if (listener < 0 || getsockname(listener, (struct sockaddr *)&at, &length)) return 2;
    printf("ready %d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        if (modbus_tcp_accept(ctx, &listener) < 0) return 2;
        for (;;) {
            int size = modbus_receive(ctx, query);
            if (size < 0) break;
            if (size > 0) modbus_reply(ctx, query, size, map);
        }
        modbus_close(ctx);
    }
}
