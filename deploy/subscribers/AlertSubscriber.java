// Prints alerts, each once. With a JDK and the jars of a Kafka download (its folder libs):
//   java -cp 'kafka/libs/*' AlertSubscriber.java client.properties tweets.alerts
// client.properties says at least: bootstrap.servers=localhost:9092 and group.id=alert-printers,
// and what the cluster asks for: security.protocol, sasl.mechanism, sasl.jaas.config, ssl.….

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.WakeupException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public final class AlertSubscriber {
    /** Alerts whose ids are remembered; a repeat follows within a few batches of a worker. */
    private static final int REMEMBERED = 100_000;

    private final ObjectMapper json = new ObjectMapper();

    private final Map<String, Boolean> seen =
            new LinkedHashMap<>() {
                @Override
                protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
                    return size() > REMEMBERED;
                }
            };

    public static void main(String[] arguments) throws IOException {
        Properties properties = new Properties();
        try (Reader file = Files.newBufferedReader(Path.of(arguments[0]))) {
            properties.load(file);
        }
        // Without this one, alerts of aborted batches would be seen.
        properties.put(ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed");
        // Otherwise an alert might count as done before it is printed.
        properties.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "false");
        properties.putIfAbsent(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(properties, bytes, bytes);
        Thread main = Thread.currentThread();
        Runtime.getRuntime()
                .addShutdownHook(
                        new Thread(
                                () -> {
                                    consumer.wakeup();
                                    try {
                                        main.join();
                                    } catch (InterruptedException interrupted) {
                                        Thread.currentThread().interrupt();
                                    }
                                }));
        try (consumer) {
            consumer.subscribe(List.of(arguments[1]));
            new AlertSubscriber().follow(consumer);
        } catch (WakeupException stopped) {
            // SIGTERM or Ctrl-C: closing the consumer has left the group.
        }
    }

    private void follow(KafkaConsumer<byte[], byte[]> consumer) throws IOException {
        while (true) {
            for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofSeconds(1))) {
                JsonNode alert = json.readTree(record.value());
                if (seen.put(alert.get("alert_id").asText(), true) == null) {
                    System.out.printf(
                            "%s\t%s\t%s%n",
                            alert.get("alert_id").asText(),
                            alert.get("probability").asDouble(),
                            alert.get("tweet").get("text")); // as JSON: one line, quoted
                }
            }
            consumer.commitSync();
        }
    }
}
